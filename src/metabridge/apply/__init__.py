from metabridge.apply.body import Body as Body
from metabridge.apply.estimator import FewShotClassifier as FewShotClassifier
from metabridge.apply.loading import load_body as load_body
