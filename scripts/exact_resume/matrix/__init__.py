"""The scenario matrix: what is trained, how a run is recorded, and how a resumed run is compared."""
