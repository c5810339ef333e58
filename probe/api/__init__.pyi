from .evaluation import evaluate as evaluate
from .extraction import extract as extract
from .fitting import fit as fit
