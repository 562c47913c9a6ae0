"""Trees of networks, their agreement and support; scaling; transfer by tournament; and selection of sources."""

from jaxsim.taxonomy.hierarchy import LINKAGES as LINKAGES
from jaxsim.taxonomy.hierarchy import Linkage as Linkage
from jaxsim.taxonomy.hierarchy import Tree as Tree
from jaxsim.taxonomy.hierarchy import authors_linkage as authors_linkage
from jaxsim.taxonomy.hierarchy import average_linkage as average_linkage
from jaxsim.taxonomy.hierarchy import between_rows as between_rows
from jaxsim.taxonomy.hierarchy import one_minus as one_minus
from jaxsim.taxonomy.hierarchy import transfer_linkage as transfer_linkage
from jaxsim.taxonomy.hierarchy import tree as tree
from jaxsim.taxonomy.scaling import classical_scaling as classical_scaling
from jaxsim.taxonomy.source_choice import SourceChoice as SourceChoice
from jaxsim.taxonomy.source_choice import choose_sources as choose_sources
from jaxsim.taxonomy.tournament import strengths as strengths
from jaxsim.taxonomy.tournament import transfer_affinity as transfer_affinity
from jaxsim.taxonomy.tournament import transfer_distance as transfer_distance
from jaxsim.taxonomy.tournament import win_rates as win_rates
from jaxsim.taxonomy.tournament import win_rates_over as win_rates_over
from jaxsim.taxonomy.tree_agreement import branch_support as branch_support
from jaxsim.taxonomy.tree_agreement import cluster_agreement as cluster_agreement
from jaxsim.taxonomy.tree_agreement import cluster_agreement_p as cluster_agreement_p
from jaxsim.taxonomy.tree_agreement import cophenetic_agreement as cophenetic_agreement
