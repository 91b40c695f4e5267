//! Exceptions that were asked for by no task, and so are the guest's own.

use lucos_abi::object::Event;

use crate::exit::Outcome;

/// Vectors that push an error code: #DF, #TS, #NP, #SS, #GP, #PF, #AC, #CP.
const WITH_ERROR_CODE: u32 =
    1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21;

/// Hands the exception to the guest.
pub fn handle(vector: u8, error_code: u32) -> Outcome {
    let pushes = 1_u32.checked_shl(u32::from(vector)).is_some_and(|bit| WITH_ERROR_CODE & bit != 0);
    Outcome::Fault(Event { vector, error_code: pushes.then_some(error_code) })
}

#[cfg(test)]
mod tests {
    use super::handle;
    use crate::exit::Outcome;
    use lucos_abi::object::Event;

    #[test]
    fn error_codes_go_to_the_vectors_that_have_one() {
        let event = |vector| match handle(vector, 7) {
            Outcome::Fault(Event { error_code, .. }) => error_code,
            other => panic!("{other:?}"),
        };
        assert_eq!(event(1), None);
        assert_eq!(event(14), Some(7));
        assert_eq!(event(17), Some(7));
        assert_eq!(event(200), None);
    }
}
