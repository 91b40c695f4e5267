//! Links the task where the kernel expects it.

include!("../runtime/task_link.rs");
