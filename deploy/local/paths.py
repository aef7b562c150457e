"""Where things are: the project, and its git-ignored folder for everything that is fetched, generated or stored."""

from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOCAL = ROOT / ".local"
