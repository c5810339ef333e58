from . import heads as heads
from . import losses as losses
from .api import evaluate as evaluate
from .api import extract as extract
from .api import fit as fit
from .embed import Embedder as Embedder
from .embed import load as load
from .errors import ProbeError as ProbeError
