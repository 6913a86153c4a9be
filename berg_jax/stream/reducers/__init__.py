"""Reducers of a stream of responses, which run on the device, so that a million responses need not be stored.

A reducer's state is a dict of arrays and pairs of arrays. ``update`` adds a batch to it, ``merge`` joins the states
of two disjoint sets of images, in any order, and ``finalize`` returns the results as NumPy arrays. Every reducer has
a ``name``, which is that of its results, and ``vertices``, the number of columns of the responses. Responses are in z
units, and so are results unless stated otherwise.

float32 alone would lose a variance beside a large mean, and one image beside the sum of a million. Reducers therefore
keep means and sums of products about the mean, which merge without cancellation for two sets of images [1]_, and each
of these numbers is a pair of float32 numbers whose sum is meant, added without loss [2]_.

If the response to a valid image is NaN or infinite, that vertex's results are NaN: nothing is left out silently.

References
----------
.. [1] T. F. Chan, G. H. Golub & R. J. LeVeque (1983). Algorithms for computing the sample variance: analysis and
   recommendations. The American Statistician 37 (3), 242–247.
.. [2] D. E. Knuth, The Art of Computer Programming, volume 2, section 4.2.2 (a sum and its rounding error);
   T. J. Dekker (1971). A floating-point technique for extending the available precision. Numerische Mathematik 18,
   224–242 (pairs).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
