from .card import Verified as Verified
from .folder import export as export
from .formats import Format as Format
from .formats import Formats as Formats
from .formats import Part as Part
from .hub import push as push
