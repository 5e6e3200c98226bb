//! Rules over physical plans that put one node in the place of another.

use std::any::Any;
use std::sync::Arc;

use datafusion::common::Result as DfResult;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

/// What comes in the place of a node, which is given a second time to be looked into; `None`: it stays.
pub(super) type Replace = fn(&Arc<dyn ExecutionPlan>, &dyn Any) -> Option<Arc<dyn ExecutionPlan>>;

/// Goes through a plan from its leaves up.
#[derive(Debug)]
pub(super) struct NodeRule {
    pub(super) name: &'static str,
    pub(super) replace: Replace,
}

impl PhysicalOptimizerRule for NodeRule {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _config: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let replace = |node: Arc<dyn ExecutionPlan>| {
            Ok(match (self.replace)(&node, node.as_ref()) {
                Some(other) => Transformed::yes(other),
                None => Transformed::no(node),
            })
        };
        plan.transform_up(replace).map(|transformed| transformed.data)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}
