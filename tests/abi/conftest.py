"""What the tests of the plugin ABI share."""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
COMPILER = os.environ["BACKPLANE_TEST_COMPILER"]
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
