"""Test-time heads: classifiers fitted on the features of a support set."""

from metabridge.heads.attention import attention as attention
from metabridge.heads.base import Head as Head
from metabridge.heads.base import Linear as Linear
from metabridge.heads.base import logits as logits
from metabridge.heads.centroid import centroid as centroid
from metabridge.heads.logistic import logistic as logistic
from metabridge.heads.ridge import ridge as ridge
from metabridge.heads.svm import svm as svm
