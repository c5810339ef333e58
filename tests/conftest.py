"""Nothing here may reach a hub: the tests run as they would on a machine without a network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
