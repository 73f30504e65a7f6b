from .dataset import SPLITS as SPLITS
from .dataset import Dataset as Dataset
from .dataset import Split as Split
from .registry import Description as Description
from .registry import dataset_names as dataset_names
from .registry import describe as describe
from .registry import load_dataset as load_dataset
