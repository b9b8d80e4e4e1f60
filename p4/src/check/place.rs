//! Places that hold values: variables, their fields, bits of them.

use super::body::BodyChecker;
use super::scope::{Symbol, most_similar};
use crate::diagnostic::Problem;
use crate::program::{Place, Type};
use crate::syntax::ast::{Expression, ExpressionKind as E, Name};

impl BodyChecker<'_> {
    /// The place that an expression names, its type, and whether it may be written; none when it names no place.
    pub fn place(
        &mut self,
        expression: &Expression,
    ) -> Result<Option<(Place, Type, bool)>, Problem> {
        match &expression.kind {
            E::Name(name) => match self.lookup(name, expression.span) {
                Ok(Symbol::Variable { slot, ty, writable }) => {
                    let place = Place { slot, path: Vec::new(), slice: None, text: name.clone() };
                    Ok(Some((place, ty, writable)))
                }
                Ok(_) => Ok(None),
                Err(problem) if name == "error" => {
                    drop(problem);
                    Ok(None)
                }
                Err(problem) => Err(problem),
            },
            E::Member(of, name) => {
                let Some((mut place, ty, writable)) = self.place(of)? else { return Ok(None) };
                let (field, ty) = self.field(&ty, name)?;
                place.path.push(field);
                place.text = format!("{}.{}", place.text, name.text);
                Ok(Some((place, ty, writable)))
            }
            E::Slice(of, high, low) => {
                let Some((mut place, ty, writable)) = self.place(of)? else { return Ok(None) };
                let (high, low) = self.slice_bounds(&ty, of.span, high, low)?;
                if place.slice.is_some() {
                    return Err(Problem::new(expression.span, "a slice of a slice", "here")
                        .help("write one slice"));
                }
                place.slice = Some((high, low));
                place.text = format!("{}[{high}:{low}]", place.text);
                Ok(Some((place, Type::Bits(high - low + 1), writable)))
            }
            _ => Ok(None),
        }
    }

    /// A place that is written.
    pub fn target(&mut self, expression: &Expression) -> Result<(Place, Type), Problem> {
        match self.place(expression)? {
            Some((place, ty, true)) => Ok((place, ty)),
            Some((place, _, false)) => Err(Problem::new(
                expression.span,
                format!("`{}` is read only", place.text),
                "an `in` parameter",
            )),
            None => Err(Problem::new(
                expression.span,
                "nothing can be assigned to this",
                "not a variable",
            )),
        }
    }

    /// A field of a structure: its place and type.
    pub fn field(&self, ty: &Type, name: &Name) -> Result<(usize, Type), Problem> {
        let program = &self.checker.program;
        let Type::Structure(id) = ty else {
            return Err(Problem::new(
                name.span,
                format!("{} has no fields", program.show_type(ty)),
                "no such field",
            ));
        };
        let structure = &program.structures[*id];
        let found = structure.fields.iter().position(|(field, _)| *field == name.text);
        if let Some(field) = found {
            return Ok((field, structure.fields[field].1.clone()));
        }
        let problem = Problem::new(
            name.span,
            format!("`{}` has no field `{}`", structure.name, name.text),
            "no such field",
        );
        let known = structure.fields.iter().map(|(field, _)| field.as_str());
        Err(match most_similar(&name.text, known.clone()) {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem.help(format!("it has {}", known.collect::<Vec<_>>().join(", "))),
        })
    }
}
