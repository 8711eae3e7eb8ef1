from adapt.api.loop import Penalty as Penalty
from adapt.api.loop import evaluate as evaluate
from adapt.api.loop import fisher as fisher
from adapt.api.loop import regression_loss as regression_loss
from adapt.api.loop import taps as taps
from adapt.api.run import Result as Result
from adapt.api.run import fit as fit
from adapt.api.run import load as load
from adapt.api.run import merge as merge
from adapt.errors import InputError as InputError
from adapt.errors import Stopped as Stopped
from adapt.evaluation.ridge import insert_map as insert_map
from adapt.evaluation.ridge import ridge_maps as ridge_maps
from adapt.evaluation.ridge import ridge_scores as ridge_scores

__version__: str
