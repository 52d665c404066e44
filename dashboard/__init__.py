"""The project manager's pages over the verbs of the other apps."""
