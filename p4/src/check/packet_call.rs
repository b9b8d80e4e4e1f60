//! Methods of the packet, and the types that they read and write.

use super::body::BodyChecker;
use crate::diagnostic::{Problem, Span};
use crate::program::{PacketMethod, Type};
use crate::syntax::ast::Name;

impl BodyChecker<'_> {
    /// Refuses types that a method of the packet cannot read or write (P4-16 specification, "Data extraction" and "Deparsing").
    pub fn packet_types(
        &self,
        method: PacketMethod,
        types: &[Type],
        arguments: usize,
        span: Span,
    ) -> Result<(), Problem> {
        let program = &self.checker.program;
        let wrong = |expected: &str| {
            let found = types.first().map_or_else(String::new, |ty| program.show_type(ty));
            Err(Problem::new(span, format!("{expected} expected, found {found}"), "here"))
        };
        match (method, types) {
            (PacketMethod::Extract, [ty]) => {
                if !self.is_header(ty) {
                    return wrong("a header");
                }
                match (self.is_variable(ty), arguments) {
                    (true, 1) => wrong("a header of a fixed length").map_err(|problem| {
                        problem.help("`extract(header, bits)` reads a `varbit` of so many bits")
                    }),
                    (false, 2) => wrong("a header with a `varbit`"),
                    _ => Ok(()),
                }
            }
            (PacketMethod::Lookahead, [ty]) if self.is_variable(ty) || *ty == Type::Void => {
                wrong("a type of a fixed length")
            }
            (PacketMethod::Emit, [ty]) if !self.is_emitted(ty) => {
                wrong("a header, or a struct of headers")
            }
            _ => Ok(()),
        }
    }

    fn is_header(&self, ty: &Type) -> bool {
        matches!(ty, Type::Structure(id) if self.checker.program.structures[*id].is_header)
    }

    fn is_variable(&self, ty: &Type) -> bool {
        match ty {
            Type::Varbit(_) => true,
            Type::Tuple(types) => types.iter().any(|ty| self.is_variable(ty)),
            Type::Structure(id) => {
                let fields = &self.checker.program.structures[*id].fields;
                fields.iter().any(|(_, ty)| self.is_variable(ty))
            }
            _ => false,
        }
    }

    fn is_emitted(&self, ty: &Type) -> bool {
        match ty {
            Type::Tuple(types) => types.iter().all(|ty| self.is_emitted(ty)),
            Type::Structure(id) => {
                let structure = &self.checker.program.structures[*id];
                structure.is_header || structure.fields.iter().all(|(_, ty)| self.is_emitted(ty))
            }
            _ => false,
        }
    }
}

/// The method of a packet parameter.
pub fn packet_method(object: &str, method: &Name) -> Result<PacketMethod, Problem> {
    Ok(match (object, method.text.as_str()) {
        ("packet_in", "extract") => PacketMethod::Extract,
        ("packet_in", "lookahead") => PacketMethod::Lookahead,
        ("packet_in", "advance") => PacketMethod::Advance,
        ("packet_in", "length") => PacketMethod::Length,
        ("packet_out", "emit") => PacketMethod::Emit,
        _ => {
            return Err(Problem::new(
                method.span,
                format!("`{object}` is no parameter that the interpreter knows"),
                "packet_in or packet_out expected",
            ));
        }
    })
}
