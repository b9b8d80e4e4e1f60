/* What the bindings are generated from. */
#include <infiniband/verbs.h>
#include <infiniband/mlx5dv.h>
