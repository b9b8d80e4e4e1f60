//! Calls: functions, methods, blocks, actions, and the few things P4 writes as calls.

use std::collections::HashMap;

use super::body::{BodyChecker, Context};
use super::mismatch;
use super::package::{substitute, unify};
use super::packet_call::packet_method;
use super::scope::Symbol;
use crate::diagnostic::{Problem, Span};
use crate::program::{
    Argument, Call, Callee, Expression, ExpressionKind as K, Parameter, Place, Signature, Type,
};
use crate::syntax::ast::{self, Direction, ExpressionKind as E, Name};

/// What a call turned out to be.
pub enum Called {
    /// Something with a value, perhaps of type `void`.
    Value(Expression),
    /// `table.apply()`
    Apply(usize),
    /// `header.setValid()`, `header.setInvalid()`
    SetValid(Place, bool),
}

impl BodyChecker<'_> {
    /// A call.
    pub fn call(&mut self, written: &ast::Expression) -> Result<Called, Problem> {
        let E::Call(function, types, arguments) = &written.kind else {
            unreachable!("only calls are checked as calls");
        };
        let span = written.span;
        let types: Vec<Type> =
            types.iter().map(|ty| self.checker.resolve(ty, &[])).collect::<Result<_, _>>()?;
        match &function.kind {
            E::Name(name) => self.function_call(name, function.span, &types, arguments, span),
            E::Member(of, method) => self.method_call(of, method, &types, arguments, span),
            _ => Err(Problem::new(function.span, "this cannot be called", "not a function")),
        }
    }

    fn function_call(
        &mut self,
        name: &str,
        name_span: Span,
        types: &[Type],
        arguments: &[ast::Expression],
        span: Span,
    ) -> Result<Called, Problem> {
        let (signature, callee) = match self.lookup(name, name_span)? {
            Symbol::Function(id) => {
                let function = &self.checker.program.functions[id];
                let signature = Signature {
                    name: name.to_owned(),
                    type_parameters: Vec::new(),
                    parameters: function.parameters.clone(),
                    returns: Some(function.returns.clone()),
                };
                (signature, Callee::Function(id))
            }
            Symbol::ExternFunction(_) if name == "verify" && self.context != Context::Parser => {
                return Err(Problem::new(name_span, "only parsers verify", "not in one"));
            }
            Symbol::ExternFunction(all) => {
                (overload(&all, name, arguments, span)?, Callee::ExternFunction(name.to_owned()))
            }
            Symbol::Action(_) | Symbol::GlobalAction(_) => {
                if !matches!(self.context, Context::Control | Context::Action) {
                    return Err(Problem::new(span, "actions are called in controls", "not here"));
                }
                let id = self.action_named(&Name { text: name.to_owned(), span: name_span })?;
                let parameters =
                    self.definition.actions[id].parameters.iter().map(|(p, _)| p.clone()).collect();
                let signature = Signature {
                    name: name.to_owned(),
                    type_parameters: Vec::new(),
                    parameters,
                    returns: Some(Type::Void),
                };
                (signature, Callee::Action(id))
            }
            other => return Err(mismatch(name_span, "a function", other.what())),
        };
        self.finish(&signature, callee, types, arguments, span)
    }

    fn method_call(
        &mut self,
        of: &ast::Expression,
        method: &Name,
        types: &[Type],
        arguments: &[ast::Expression],
        span: Span,
    ) -> Result<Called, Problem> {
        if let E::Name(name) = &of.kind {
            match self.lookup(name, of.span)? {
                Symbol::Table(table) => {
                    if method.text != "apply" || !arguments.is_empty() {
                        return Err(Problem::new(
                            method.span,
                            "a table has only `apply()`",
                            "here",
                        ));
                    }
                    if self.context != Context::Control {
                        return Err(Problem::new(
                            span,
                            "tables are applied in `apply`",
                            "not here",
                        ));
                    }
                    return Ok(Called::Apply(table));
                }
                Symbol::Instance(instance) => {
                    return self.instance_call(instance, method, types, arguments, span);
                }
                Symbol::GlobalInstance(instance) => {
                    let crate::program::InstanceOf::Extern(id, _) =
                        self.checker.program.instances[instance].of
                    else {
                        unreachable!("only externs are instances outside of blocks");
                    };
                    let signature = self.method(id, method, arguments)?;
                    let callee = Callee::GlobalMethod(instance, method.text.clone());
                    return self.finish(&signature, callee, types, arguments, span);
                }
                Symbol::Object(id) => {
                    let signature = self.method(id, method, arguments)?;
                    let method = packet_method(&self.checker.program.externs[id].name, method)?;
                    let callee = Callee::PacketMethod(method);
                    return self.finish(&signature, callee, types, arguments, span);
                }
                _ => {}
            }
        }
        self.header_method(of, method, arguments, span)
    }

    fn header_method(
        &mut self,
        of: &ast::Expression,
        method: &Name,
        arguments: &[ast::Expression],
        span: Span,
    ) -> Result<Called, Problem> {
        let Some((place, ty, writable)) = self.place(of)? else {
            return Err(Problem::new(of.span, "this has no methods", "not an object"));
        };
        let is_header =
            matches!(ty, Type::Structure(id) if self.checker.program.structures[id].is_header);
        if !is_header || !arguments.is_empty() {
            return Err(Problem::new(
                method.span,
                format!("`{}` has no method `{}`", place.text, method.text),
                "headers have isValid(), setValid(), setInvalid()",
            ));
        }
        match method.text.as_str() {
            "isValid" => {
                Ok(Called::Value(Expression { kind: K::IsValid(place), ty: Type::Boolean, span }))
            }
            "setValid" | "setInvalid" if writable => {
                Ok(Called::SetValid(place, method.text == "setValid"))
            }
            "setValid" | "setInvalid" => Err(Problem::new(
                of.span,
                format!("`{}` is read only", place.text),
                "an `in` parameter",
            )),
            _ => Err(Problem::new(
                method.span,
                format!("headers have no method `{}`", method.text),
                "isValid, setValid or setInvalid expected",
            )),
        }
    }

    fn instance_call(
        &mut self,
        instance: usize,
        method: &Name,
        types: &[Type],
        arguments: &[ast::Expression],
        span: Span,
    ) -> Result<Called, Problem> {
        use crate::program::InstanceOf;
        let (signature, callee) = match self.definition.instances[instance].of {
            InstanceOf::Extern(id, _) => {
                (self.method(id, method, arguments)?, Callee::Method(instance, method.text.clone()))
            }
            InstanceOf::Block(block) => {
                let definition = &self.checker.program.blocks[block];
                if method.text != "apply" {
                    return Err(Problem::new(method.span, "a block has only `apply(...)`", "here"));
                }
                if !matches!(self.context, Context::Control | Context::Parser) {
                    return Err(Problem::new(span, "blocks are applied in `apply`", "not here"));
                }
                let signature = Signature {
                    name: definition.name.clone(),
                    type_parameters: Vec::new(),
                    parameters: definition.parameters.clone(),
                    returns: Some(Type::Void),
                };
                (signature, Callee::Block(instance))
            }
        };
        self.finish(&signature, callee, types, arguments, span)
    }

    fn method(
        &self,
        object: usize,
        method: &Name,
        arguments: &[ast::Expression],
    ) -> Result<Signature, Problem> {
        let object = &self.checker.program.externs[object];
        let named: Vec<Signature> = object
            .methods
            .iter()
            .filter(|m| m.returns.is_some() && m.name == method.text)
            .cloned()
            .collect();
        if named.is_empty() {
            let known: Vec<_> = object
                .methods
                .iter()
                .filter(|m| m.returns.is_some())
                .map(|m| m.name.as_str())
                .collect();
            return Err(Problem::new(
                method.span,
                format!("`{}` has no method `{}`", object.name, method.text),
                "no such method",
            )
            .help(format!("it has {}", known.join(", "))));
        }
        overload(&named, &method.text, arguments, method.span)
    }

    fn finish(
        &mut self,
        signature: &Signature,
        callee: Callee,
        types: &[Type],
        arguments: &[ast::Expression],
        span: Span,
    ) -> Result<Called, Problem> {
        if signature.parameters.len() != arguments.len() {
            return Err(Problem::new(
                span,
                format!("`{}` takes {} arguments", signature.name, signature.parameters.len()),
                format!("{} given", arguments.len()),
            ));
        }
        if !types.is_empty() && types.len() != signature.type_parameters.len() {
            return Err(Problem::new(span, "wrong number of types", "between `<` and `>`"));
        }
        let mut bound: HashMap<String, Type> =
            signature.type_parameters.iter().cloned().zip(types.iter().cloned()).collect();
        let checked = signature
            .parameters
            .iter()
            .zip(arguments)
            .map(|(parameter, argument)| self.argument(parameter, argument, &mut bound))
            .collect::<Result<Vec<_>, _>>()?;
        distinct(&checked, arguments)?;
        let types: Option<Vec<Type>> =
            signature.type_parameters.iter().map(|name| bound.get(name).cloned()).collect();
        let types = types.ok_or_else(|| {
            Problem::new(span, "a type is missing", "cannot be told from the arguments")
                .help(format!("write `{}<TYPE>(...)`", signature.name))
        })?;
        if let Callee::PacketMethod(method) = callee {
            self.packet_types(method, &types, checked.len(), span)?;
        }
        let ty = substitute(signature.returns.as_ref().unwrap_or(&Type::Void), &bound);
        let call = Call { callee, arguments: checked, types };
        Ok(Called::Value(Expression { kind: K::Call(Box::new(call)), ty, span }))
    }

    fn argument(
        &mut self,
        parameter: &Parameter,
        argument: &ast::Expression,
        bound: &mut HashMap<String, Type>,
    ) -> Result<Argument, Problem> {
        let wanted = substitute(&parameter.ty, bound);
        if let Type::Extern(id) = wanted {
            return match &argument.kind {
                E::Name(name) if matches!(self.lookup(name, argument.span)?, Symbol::Object(found) if found == id) => {
                    Ok(Argument::Object)
                }
                _ => Err(mismatch(
                    argument.span,
                    &self.checker.program.show_type(&wanted),
                    "something else",
                )),
            };
        }
        let open = matches!(wanted, Type::Parameter(_));
        match parameter.direction {
            Direction::In | Direction::None => {
                let value = self.expression(argument, (!open).then_some(&wanted))?;
                if value.ty == Type::Text && parameter.direction == Direction::In {
                    return Err(Problem::new(
                        argument.span,
                        "text has no direction",
                        "it is known before the program runs",
                    ));
                }
                if open && value.ty == Type::Integer {
                    return Err(Problem::new(
                        argument.span,
                        "the number has no width",
                        "a plain number",
                    )
                    .help("write its width: `8w1`"));
                }
                self.unified_type(&wanted, &value.ty, argument.span, bound)?;
                Ok(Argument::In(value))
            }
            Direction::Out | Direction::InOut => {
                let (place, ty) = self.target(argument)?;
                self.unified_type(&wanted, &ty, argument.span, bound)?;
                Ok(if parameter.direction == Direction::Out {
                    Argument::Out(place, ty)
                } else {
                    Argument::InOut(place)
                })
            }
        }
    }

    fn unified_type(
        &self,
        wanted: &Type,
        found: &Type,
        span: Span,
        bound: &mut HashMap<String, Type>,
    ) -> Result<(), Problem> {
        if unify(wanted, found, bound) {
            return Ok(());
        }
        let program = &self.checker.program;
        Err(mismatch(span, &program.show_type(wanted), &program.show_type(found)))
    }
}

/// Refuses a call that writes one place twice: P4 says which wins, no reader remembers it.
fn distinct(checked: &[Argument], written: &[ast::Expression]) -> Result<(), Problem> {
    let places: Vec<(&Place, Span)> = checked
        .iter()
        .zip(written)
        .filter_map(|(argument, written)| match argument {
            Argument::Out(place, _) | Argument::InOut(place) => Some((place, written.span)),
            Argument::In(_) | Argument::Object => None,
        })
        .collect();
    for (n, (place, span)) in places.iter().enumerate() {
        let again = places[..n].iter().any(|(other, _)| {
            other.slot == place.slot && other.path.iter().zip(&place.path).all(|(a, b)| a == b)
        });
        if again {
            let message = format!("`{}` is written by two arguments of one call", place.text);
            return Err(Problem::new(*span, message, "the second"));
        }
    }
    Ok(())
}

fn overload(
    all: &[Signature],
    name: &str,
    arguments: &[ast::Expression],
    span: Span,
) -> Result<Signature, Problem> {
    all.iter().find(|s| s.parameters.len() == arguments.len()).cloned().ok_or_else(|| {
        let counts: Vec<String> = all.iter().map(|s| s.parameters.len().to_string()).collect();
        Problem::new(
            span,
            format!("`{name}` takes {} arguments", counts.join(" or ")),
            format!("{} given", arguments.len()),
        )
    })
}
