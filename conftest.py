"""Every test, and `pytest --nbval` of a chapter too, runs without the reader's own settings.

An IPython profile or a start-up file of theirs would change what a notebook's cells show, and the
comparison with what is stored would fail.
"""

import os
from pathlib import Path

PROFILE = Path(__file__).resolve().parent / "_build" / "ipython"
PROFILE.mkdir(parents=True, exist_ok=True)  # IPython warns where it is missing
os.environ["IPYTHONDIR"] = str(PROFILE)
os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # their own kernel of the same name is another Python
os.environ.pop("PYTHONSTARTUP", None)
