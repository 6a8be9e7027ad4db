//! Messages of PostgreSQL's protocol 3.0, as bytes.
//!
//! Nothing is checked: a test that wants a wrong message gets one.

/// The version number of protocol 3.0.
pub const VERSION: u32 = 196_608;

/// A message with a type: its length is added.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    message_of_length(tag, u32::try_from(body.len() + 4).expect("a message under 4 GiB"), body)
}

/// A message with a type whose length field lies.
pub fn message_of_length(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag], &length.to_be_bytes()[..], body].concat()
}

/// A message without a type, as before the sign-in.
pub fn untyped(code: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).expect("a message under 4 GiB");
    [&length.to_be_bytes()[..], &code.to_be_bytes(), body].concat()
}

/// StartupMessage.
pub fn startup(parameters: &[(&str, &str)]) -> Vec<u8> {
    startup_of(VERSION, parameters)
}

/// StartupMessage of another version: the major one in the upper half.
pub fn startup_of(version: u32, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, value) in parameters {
        body.extend(text(name));
        body.extend(text(value));
    }
    body.push(0);
    untyped(version, &body)
}

/// SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    untyped(80_877_103, &[])
}

/// GSSENCRequest.
pub fn gss_request() -> Vec<u8> {
    untyped(80_877_104, &[])
}

/// CancelRequest.
pub fn cancel(process: u32, key: &[u8]) -> Vec<u8> {
    untyped(80_877_102, &[&process.to_be_bytes(), key].concat())
}

/// A string with its end.
pub fn text(value: &str) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &text(sql))
}

/// Parse, the types of the parameters left to the database.
pub fn parse(statement: &str, sql: &str) -> Vec<u8> {
    message(b'P', &[text(statement), text(sql), vec![0, 0]].concat())
}

/// Bind with parameters as text and results as text.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&[u8]>]) -> Vec<u8> {
    let mut body = [text(portal), text(statement), vec![0, 0]].concat();
    body.extend(u16::try_from(parameters.len()).expect("at most 65535 parameters").to_be_bytes());
    for parameter in parameters {
        match parameter {
            None => body.extend((-1_i32).to_be_bytes()),
            Some(bytes) => {
                body.extend(u32::try_from(bytes.len()).expect("a value under 4 GiB").to_be_bytes());
                body.extend(*bytes);
            }
        }
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

/// Describe of a statement.
pub fn describe_statement(name: &str) -> Vec<u8> {
    message(b'D', &[vec![b'S'], text(name)].concat())
}

/// Describe of a portal.
pub fn describe_portal(name: &str) -> Vec<u8> {
    message(b'D', &[vec![b'P'], text(name)].concat())
}

/// Execute; 0 rows means all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[text(portal), rows.to_be_bytes().to_vec()].concat())
}

/// Close of a statement.
pub fn close_statement(name: &str) -> Vec<u8> {
    message(b'C', &[vec![b'S'], text(name)].concat())
}

/// Close of a portal.
pub fn close_portal(name: &str) -> Vec<u8> {
    message(b'C', &[vec![b'P'], text(name)].concat())
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

/// CopyData.
pub fn copy_data(bytes: &[u8]) -> Vec<u8> {
    message(b'd', bytes)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

/// CopyFail.
pub fn copy_fail(why: &str) -> Vec<u8> {
    message(b'f', &text(why))
}

/// FunctionCall with arguments and a result as text.
pub fn function_call(oid: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = oid.to_be_bytes().to_vec();
    body.extend([0, 0]);
    body.extend(u16::try_from(arguments.len()).expect("at most 65535 arguments").to_be_bytes());
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).expect("a value under 4 GiB").to_be_bytes());
        body.extend(*argument);
    }
    body.extend([0, 0]);
    message(b'F', &body)
}

/// Parse, Bind, Describe and Execute through the unnamed statement, without Sync.
pub fn unnamed(sql: &str, parameters: &[Option<&[u8]>]) -> Vec<u8> {
    [parse("", sql), bind("", "", parameters), describe_portal(""), execute("", 0)].concat()
}
