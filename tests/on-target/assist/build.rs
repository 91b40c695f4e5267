include!("../../../runtime/task_link.rs");
