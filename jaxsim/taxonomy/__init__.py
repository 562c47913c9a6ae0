"""Trees of networks: clustering of affinities, agreement of trees, branch support."""

from jaxsim.taxonomy.hierarchy import LINKAGES as LINKAGES
from jaxsim.taxonomy.hierarchy import Linkage as Linkage
from jaxsim.taxonomy.hierarchy import Tree as Tree
from jaxsim.taxonomy.hierarchy import authors_linkage as authors_linkage
from jaxsim.taxonomy.hierarchy import average_linkage as average_linkage
from jaxsim.taxonomy.hierarchy import between_rows as between_rows
from jaxsim.taxonomy.hierarchy import one_minus as one_minus
from jaxsim.taxonomy.hierarchy import transfer_linkage as transfer_linkage
from jaxsim.taxonomy.hierarchy import tree as tree
from jaxsim.taxonomy.tree_agreement import branch_support as branch_support
from jaxsim.taxonomy.tree_agreement import cluster_agreement as cluster_agreement
from jaxsim.taxonomy.tree_agreement import cluster_agreement_p as cluster_agreement_p
from jaxsim.taxonomy.tree_agreement import cophenetic_agreement as cophenetic_agreement
