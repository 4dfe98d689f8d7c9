"""Ordinary pipelines, of which every one has to be exact without a word; importing this registers all of them."""

from ordinary import batches, data, sampling, streaming  # noqa: F401
