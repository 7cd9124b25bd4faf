"""Images: from a source, through a beton, to two random views on the device.

dataset = load(spec.data, seed=0, cache=default_cache(), device=torch.device("cpu"), threads=1)
first, second = dataset.train.two_views(torch.arange(256), spec.views, seed=0, epoch=1)
"""

from ablate.data.beton import Beton, build, default_cache
from ablate.data.dataset import Dataset, Split, load, residence
from ablate.data.error import DataError
from ablate.data.order import epoch_order
from ablate.data.views import plain_view, two_views, view_parameters

__all__ = [
    "Beton",
    "DataError",
    "Dataset",
    "Split",
    "build",
    "default_cache",
    "epoch_order",
    "load",
    "plain_view",
    "residence",
    "two_views",
    "view_parameters",
]
