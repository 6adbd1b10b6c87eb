"""Images and labels as arrays: scikit-learn's digits, written as data=arrays takes them.

python docs/examples/arrays.py digits.npz
python -m kdsweep experiment=smoke data=arrays data.root=digits.npz data.image_size=16
"""

import sys

import numpy as np
from sklearn.datasets import load_digits

digits = load_digits()
np.savez(
    sys.argv[1],
    images=np.rint(digits.images * (255 / 16)).astype(np.uint8),  # [n, 8, 8], grey
    labels=digits.target,  # [n], from 0
    classes=digits.target_names.astype(str),
)
