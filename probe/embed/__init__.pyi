from .embedder import Embedder as Embedder
from .images import ImageInput as ImageInput
from .images import Images as Images
from .loading import load as load
