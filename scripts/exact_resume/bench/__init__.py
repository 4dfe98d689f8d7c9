"""What recording, resuming and checkpoints cost: a patched Trainer, stock, and what users take instead, in one run."""
