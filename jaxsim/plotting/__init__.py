"""Pictures of results: affinity matrices, trees, rankings, agreement with transfer (extra `plot`).

Every function returns a matplotlib `Figure` that belongs to no window and no global state; `save_figure`
writes it. Sizes follow, in inches, from the number of networks and the length of their names:
nothing is clipped.
"""

from jaxsim.plotting.canvas import save_figure as save_figure
from jaxsim.plotting.contact_sheets import pictures as pictures
from jaxsim.plotting.matrices import affinity_heatmap as affinity_heatmap
from jaxsim.plotting.scores import column_correlations as column_correlations
from jaxsim.plotting.scores import ranking as ranking
from jaxsim.plotting.trees import dendrogram as dendrogram
