//! Packages, and the instance `main`.

use std::collections::HashMap;

use super::Checker;
use super::scope::Symbol;
use super::types::distinct;
use crate::diagnostic::{Problem, Span};
use crate::program::{Main, Signature, Type};
use crate::syntax::ast::{Expression, ExpressionKind, Name, Prototype, TypeKind};

/// Makes types equal by choosing what type parameters stand for; false when that cannot be.
pub fn unify(wanted: &Type, found: &Type, bound: &mut HashMap<String, Type>) -> bool {
    match wanted {
        Type::Parameter(name) => {
            bound.entry(name.clone()).or_insert_with(|| found.clone()) == found
        }
        Type::Tuple(types) => match found {
            Type::Tuple(others) if types.len() == others.len() => {
                types.iter().zip(others).all(|(a, b)| unify(a, b, bound))
            }
            _ => false,
        },
        _ => wanted == found,
    }
}

/// A type with its parameters replaced.
pub fn substitute(ty: &Type, bound: &HashMap<String, Type>) -> Type {
    match ty {
        Type::Parameter(name) => bound.get(name).cloned().unwrap_or_else(|| ty.clone()),
        Type::Tuple(types) => Type::Tuple(types.iter().map(|ty| substitute(ty, bound)).collect()),
        _ => ty.clone(),
    }
}

impl Checker {
    /// `package name<H, M>(SomeParser<H, M> p, ...);`
    pub fn package_type(&mut self, prototype: &Prototype) -> Result<(), Problem> {
        let generic: Vec<_> =
            prototype.type_parameters.iter().map(|name| name.text.clone()).collect();
        distinct(&prototype.type_parameters)?;
        distinct(prototype.parameters.iter().map(|parameter| &parameter.name))?;
        let mut blocks = Vec::new();
        for parameter in &prototype.parameters {
            let TypeKind::Named(name, arguments) = &parameter.ty.kind else {
                return Err(Problem::new(
                    parameter.ty.span,
                    "a package consists of blocks",
                    "here",
                ));
            };
            let Some(Symbol::BlockType(signature)) = self.globals.get(name).cloned() else {
                return Err(self.unknown(name, parameter.ty.span, "type of parsers or controls"));
            };
            let arguments: Vec<Type> =
                arguments.iter().map(|ty| self.resolve(ty, &generic)).collect::<Result<_, _>>()?;
            if arguments.len() != signature.type_parameters.len() {
                return Err(Problem::new(
                    parameter.ty.span,
                    format!("`{name}` has {} type parameters", signature.type_parameters.len()),
                    format!("{} given", arguments.len()),
                ));
            }
            blocks.push((signature, arguments));
        }
        self.globals.declare(&prototype.name, Symbol::Package(blocks))
    }

    /// `Package(A(), B()) main;`
    pub fn main(
        &mut self,
        package: &str,
        span: Span,
        wanted: &[(Signature, Vec<Type>)],
        arguments: &[Expression],
        name: &Name,
    ) -> Result<(), Problem> {
        if name.text != "main" {
            return Err(Problem::new(
                name.span,
                "a program has one package",
                "must be named `main`",
            ));
        }
        if wanted.len() != arguments.len() {
            return Err(Problem::new(
                span,
                format!("`{package}` consists of {} blocks", wanted.len()),
                format!("{} given", arguments.len()),
            ));
        }
        let mut bound = HashMap::new();
        let mut blocks = Vec::new();
        for ((signature, types), argument) in wanted.iter().zip(arguments) {
            let block = self.main_block(argument)?;
            let outer: HashMap<_, _> =
                signature.type_parameters.iter().cloned().zip(types.iter().cloned()).collect();
            let definition = &self.program.blocks[block];
            let fits = signature.parameters.len() == definition.parameters.len()
                && signature.parameters.iter().zip(&definition.parameters).all(
                    |(wanted, found)| {
                        wanted.direction == found.direction
                            && unify(&substitute(&wanted.ty, &outer), &found.ty, &mut bound)
                    },
                );
            if !fits {
                let show: Vec<_> = signature
                    .parameters
                    .iter()
                    .map(|p| {
                        let ty = substitute(&substitute(&p.ty, &outer), &bound);
                        format!("{}{}", p.direction, self.program.show_type(&ty))
                    })
                    .collect();
                return Err(Problem::new(
                    argument.span,
                    format!(
                        "`{}` does not have the parameters of `{}`",
                        definition.name, signature.name
                    ),
                    "this block",
                )
                .help(format!("wanted: ({})", show.join(", "))));
            }
            blocks.push(block);
        }
        self.program.main = Some(Main { package: package.to_owned(), blocks });
        Ok(())
    }

    fn main_block(&self, argument: &Expression) -> Result<usize, Problem> {
        if let ExpressionKind::Call(function, _, arguments) = &argument.kind
            && let ExpressionKind::Name(name) = &function.kind
            && arguments.is_empty()
        {
            return match self.globals.get(name) {
                Some(Symbol::Block(block)) => Ok(*block),
                _ => Err(self.unknown(name, function.span, "parser or control")),
            };
        }
        Err(Problem::new(argument.span, "a package consists of blocks", "`Name()` expected"))
    }
}
