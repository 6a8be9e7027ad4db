use super::{Writer, timeline};
use crate::endpoint::EndpointId;
use crate::topology::Past;

#[test]
fn promotions_are_counted_as_they_are_seen() {
    let (a, b) = (EndpointId(1), EndpointId(2));
    let past = Past { identity: None, primary: Some((a, 3)) };
    let writer = |id, followed, holds_all| Writer { id, followed, holds_all };
    let cases = [
        ("nobody reigned yet", writer(a, false, false), Past::default(), false, true, 1),
        ("the primary itself", writer(a, false, true), past, true, true, 3),
        ("the primary, after it was set read-only", writer(a, true, true), past, false, true, 4),
        ("a promoted replica", writer(b, true, false), past, false, true, 4),
        ("a replica takes writes beside the primary", writer(b, true, true), past, true, true, 3),
        ("an unknown one beside the primary", writer(b, false, true), past, true, true, 0),
        ("an old primary returns while there is none", writer(b, false, false), past, false, true, 0),
        ("one never seen that has everything", writer(b, false, true), past, false, true, 4),
        ("the operator replaced the primary", writer(b, false, false), past, false, false, 4),
    ];
    for (name, writer, past, reigning, known, expected) in cases {
        assert_eq!(timeline(writer, past, reigning, known), expected, "{name}");
    }
}
