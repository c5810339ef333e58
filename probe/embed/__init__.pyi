from .collection import Collection as Collection
from .collection import named_images as named_images
from .embedder import Embedder as Embedder
from .images import ImageInput as ImageInput
from .images import Images as Images
from .loading import load as load
