from .card import Verified as Verified
from .folder import export as export
