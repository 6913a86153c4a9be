from .attribution import gradient_times_input, integrated_gradients, occlusion, smooth_grad
from .competition import Competition, compete
from .disagreement import make_competition
from .eigendistortions import Eigendistortions, eigendistortions
from .experiment import explain
from .metamers import Metamers, metamers
from .perception import make_metamers
from .reading import Contributions, Reading, contributions, reading
from .sanity import Curves, deletion_and_insertion, randomized

__all__ = [
    "Competition",
    "Contributions",
    "Curves",
    "Eigendistortions",
    "Metamers",
    "Reading",
    "compete",
    "contributions",
    "deletion_and_insertion",
    "eigendistortions",
    "explain",
    "gradient_times_input",
    "integrated_gradients",
    "make_competition",
    "make_metamers",
    "metamers",
    "occlusion",
    "randomized",
    "reading",
    "smooth_grad",
]
