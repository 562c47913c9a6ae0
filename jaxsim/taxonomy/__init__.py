"""Trees of networks: clustering of affinities, agreement of trees, branch support (extra `taxonomy`)."""

from jaxsim.taxonomy.agreement import cluster_agreement as cluster_agreement
from jaxsim.taxonomy.agreement import cluster_agreement_p as cluster_agreement_p
from jaxsim.taxonomy.agreement import cophenetic_agreement as cophenetic_agreement
from jaxsim.taxonomy.linkages import Linkage as Linkage
from jaxsim.taxonomy.linkages import authors_linkage as authors_linkage
from jaxsim.taxonomy.linkages import average_linkage as average_linkage
from jaxsim.taxonomy.linkages import between_rows as between_rows
from jaxsim.taxonomy.linkages import one_minus as one_minus
from jaxsim.taxonomy.linkages import transfer_linkage as transfer_linkage
from jaxsim.taxonomy.support import branch_support as branch_support
from jaxsim.taxonomy.trees import Tree as Tree
from jaxsim.taxonomy.trees import tree as tree
