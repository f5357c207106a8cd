"""What must stand before any test module is imported."""

import os

# Ray reads it once, when it is first imported, whichever test that is; each cluster of the tests has its own token.
os.environ["RAY_AUTH_MODE"] = "token"
