from .app import create_app as create_app
from .limits import Limits as Limits
from .server import is_loopback as is_loopback
from .server import listen as listen
from .server import serve as serve
