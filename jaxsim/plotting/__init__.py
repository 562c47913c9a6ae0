"""Plots of affinity matrices, maps, trees, rankings, agreement and variance (extra `plot`).

Every function returns a matplotlib `Figure` that is not attached to a window or to global state; `save_figure` writes
it
to a file. The size in inches depends on the number of networks and the length of their names, so nothing is clipped.
"""

from jaxsim.plotting.canvas import contact_sheet as contact_sheet
from jaxsim.plotting.canvas import require_matplotlib as require_matplotlib
from jaxsim.plotting.canvas import save_figure as save_figure
from jaxsim.plotting.curves import precision_recall as precision_recall
from jaxsim.plotting.curves import variance_curves as variance_curves
from jaxsim.plotting.dendrograms import dendrogram as dendrogram
from jaxsim.plotting.dot_plots import MOST_PANELS as MOST_PANELS
from jaxsim.plotting.dot_plots import column_correlations as column_correlations
from jaxsim.plotting.dot_plots import ranking as ranking
from jaxsim.plotting.matrices import affinity_heatmap as affinity_heatmap
from jaxsim.plotting.matrices import calibration_heatmap as calibration_heatmap
from jaxsim.plotting.model_dots import model_scores as model_scores
from jaxsim.plotting.panels import map_panels as map_panels
from jaxsim.plotting.scatter import mds as mds
from jaxsim.plotting.source_graphs import source_graph as source_graph
