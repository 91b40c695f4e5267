//! Links the program as a task.

include!("../../../runtime/task_link.rs");
