from .embed import Embedder as Embedder
from .embed import load as load
