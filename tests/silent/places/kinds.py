"""Each kind of state once, with the owners in turn; other combinations are drawn by a test."""

from base import PLACES, Place
from combinations import DATA_OWNERS, combination
from kinds import KINDS

for number, kind in enumerate(KINDS):
    made = combination(f"{DATA_OWNERS[number % len(DATA_OWNERS)]}-{kind}-{('init', 'first_use')[number % 2]}")
    PLACES[made.name] = Place(made.name, "kinds", made.title, made.build)
