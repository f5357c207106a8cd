"""The training loop and its parts. Nothing here knows Ray."""
