"""Scene completion: the hole filled from similar photographs, as Hays and Efros did it, with what is at hand."""

from __future__ import annotations

from ssl_ce.data.imageset import ImageSet
from ssl_ce.descriptors.gist import Gist
from ssl_ce.inpainters.nearest import Index, Nearest


def scene_completion(searched: ImageSet, *, k: int = 20, align: int = 4, index: Index = "full") -> Nearest:
    """The `k` nearest contexts by GIST, the best of them by position and scale, blended by Poisson's equation.

    After Hays and Efros, "Scene completion using millions of photographs", SIGGRAPH 2007. Theirs adds coarse colours to
    GIST, takes 200 of 2.3 million photographs of 1,024 pixels, and cuts the seam by a graph cut before blending.

    Parameters
    ----------
    searched
        The photographs that are searched; the more the better.
    k, align, index
        As of `Nearest`. `align=4` are 4 of 128 pixels.
    """
    own = (("k", k, 20), ("align", align, 4), ("index", index, "full"))
    options = "&".join(f"{name}={value}" for name, value, preset in own if value != preset)
    name = f"scene-completion?{options}" if options else "scene-completion"
    return Nearest(Gist(), searched, k=k, align=align, index=index, fill="poisson", name=name)
