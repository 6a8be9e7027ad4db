use super::Layout;

const SEGMENT: u64 = 16 * 1024 * 1024;

#[test]
fn a_position_behind_an_empty_header_is_the_end_before_it() {
    let layout = Layout { block: 8192, segment: SEGMENT };
    let cases = [
        ("in the middle of a page", 3 * SEGMENT + 500, 3 * SEGMENT + 500),
        ("behind the header of a page", 3 * SEGMENT + 8192 + 24, 3 * SEGMENT + 8192),
        ("behind the header of a segment, as pg_switch_wal leaves it", 3 * SEGMENT + 40, 3 * SEGMENT),
        ("a record that ends 40 bytes into a page", 3 * SEGMENT + 8192 + 40, 3 * SEGMENT + 8192 + 40),
        ("at the boundary itself", 3 * SEGMENT, 3 * SEGMENT),
        ("nothing was written", 0, 0),
    ];
    for (name, insert, end) in cases {
        assert_eq!(layout.end_of_data(insert), end, "{name}");
    }
}
