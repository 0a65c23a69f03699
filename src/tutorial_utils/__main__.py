"""``python -m tutorial_utils``."""

from tutorial_utils.cli import main

raise SystemExit(main())
