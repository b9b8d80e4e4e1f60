//! What differs between two lists of lines.

/// The longest common subsequence, marked with a space; `-` marks what is expected and missing, `+` what is too much.
#[must_use]
pub fn align<'a>(expected: &'a [String], actual: &'a [String]) -> Vec<(char, &'a str)> {
    let mut length = vec![vec![0usize; actual.len() + 1]; expected.len() + 1];
    for (i, e) in expected.iter().enumerate().rev() {
        for (j, a) in actual.iter().enumerate().rev() {
            length[i][j] = if e == a {
                length[i + 1][j + 1] + 1
            } else {
                length[i + 1][j].max(length[i][j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut lines = Vec::new();
    while i < expected.len() || j < actual.len() {
        if i < expected.len() && j < actual.len() && expected[i] == actual[j] {
            lines.push((' ', expected[i].as_str()));
            (i, j) = (i + 1, j + 1);
        } else if j == actual.len() || i < expected.len() && length[i + 1][j] >= length[i][j + 1] {
            lines.push(('-', expected[i].as_str()));
            i += 1;
        } else {
            lines.push(('+', actual[j].as_str()));
            j += 1;
        }
    }
    lines
}
