"""Training of the model: seeded, replayable, resumable; one model or a stack of them."""
