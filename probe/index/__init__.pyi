from .following import Changes as Changes
from .hits import Hits as Hits
from .index import Index as Index
from .page import hits_page as hits_page
from .query import Box as Box
from .query import Query as Query
from .sources import SEVERAL as SEVERAL
