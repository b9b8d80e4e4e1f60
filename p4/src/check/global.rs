//! Declarations at the top of a program.

use super::body::BodyChecker;
use super::scope::Symbol;
use super::{Checker, known_annotations, no_annotations};
use crate::diagnostic::Problem;
use crate::program::{
    Enum, ExternType, Function, Instance, InstanceOf, MatchKind, Statement, Structure, Type,
};
use crate::syntax::ast::{
    Annotation, Block, Declaration, DeclarationKind as K, Direction, Expression, Field, Name,
    Prototype, TypeExpression, TypeKind,
};
use crate::value::Value;

impl Checker {
    /// One declaration.
    pub fn global(&mut self, declaration: &Declaration) -> Result<(), Problem> {
        no_annotations(&declaration.annotations)?;
        match &declaration.kind {
            K::Constant(ty, name, value) => {
                let ty = self.resolve(ty, &[])?;
                let (value, ty) = self.constant(value, Some(&ty))?;
                self.globals.declare(name, Symbol::Constant(value, ty))
            }
            K::Typedef(ty, name) => {
                let ty = self.resolve(ty, &[])?;
                self.globals.declare(name, Symbol::Type(ty))
            }
            K::Errors(names) => {
                for name in names {
                    if self.program.errors.contains(&name.text) {
                        return Err(Problem::new(
                            name.span,
                            format!("the error `{}` is declared twice", name.text),
                            "the second time",
                        ));
                    }
                    self.program.errors.push(name.text.clone());
                }
                Ok(())
            }
            K::MatchKinds(names) => names.iter().try_for_each(|name| self.match_kind(name)),
            K::Enum(name, underlying, members) => {
                self.enumeration(name, underlying.as_ref(), members)
            }
            K::Header(name, fields) => self.structure(name, fields, true),
            K::Struct(name, fields) => self.structure(name, fields, false),
            K::ExternObject(name, methods) => {
                let id = self.program.externs.len();
                self.globals.declare(name, Symbol::Type(Type::Extern(id)))?;
                self.program
                    .externs
                    .push(ExternType { name: name.text.clone(), methods: Vec::new() });
                for method in methods {
                    let signature = self.signature(method, &[])?;
                    if method.name.text == name.text && signature.returns.is_some() {
                        return Err(Problem::new(
                            method.name.span,
                            "a constructor returns nothing",
                            "not even `void`",
                        ));
                    }
                    self.program.externs[id].methods.push(signature);
                }
                Ok(())
            }
            K::ExternFunction(prototype) => {
                let signature = self.signature(prototype, &[])?;
                let mut all = match self.globals.get(&prototype.name.text) {
                    Some(Symbol::ExternFunction(others)) => others.clone(),
                    None => Vec::new(),
                    Some(_) => {
                        return self
                            .globals
                            .declare(&prototype.name, Symbol::ExternFunction(vec![]));
                    }
                };
                all.push(signature);
                self.globals.replace(&prototype.name.text, Symbol::ExternFunction(all));
                Ok(())
            }
            K::ParserType(prototype) | K::ControlType(prototype) => {
                let signature = self.signature(prototype, &[])?;
                self.globals.declare(&prototype.name, Symbol::BlockType(signature))
            }
            K::Package(prototype) => self.package_type(prototype),
            K::Parser(parser) => self.parser(parser),
            K::Control(control) => self.control(control),
            K::Action(action) => {
                // What nobody calls is checked too.
                BodyChecker::bare(self).action(action)?;
                self.globals.declare(&action.name, Symbol::GlobalAction(action.clone()))
            }
            K::Function(prototype, body) => self.function(prototype, body),
            K::Instance(ty, arguments, name) => self.global_instance(ty, arguments, name),
            K::Variable(_, name, _) => {
                Err(Problem::new(name.span, "variables live in parsers and controls", "not here"))
            }
            K::Table(table) => {
                Err(Problem::new(table.name.span, "tables live in controls", "not here"))
            }
        }
    }

    fn match_kind(&mut self, name: &Name) -> Result<(), Problem> {
        let kind = match name.text.as_str() {
            "exact" => MatchKind::Exact,
            "ternary" => MatchKind::Ternary,
            "lpm" => MatchKind::LongestPrefix,
            "optional" => MatchKind::Optional,
            other => {
                return Err(Problem::new(
                    name.span,
                    format!("the match kind `{other}` is not supported"),
                    "here",
                )
                .help("exact, ternary, lpm, optional; a range is a few ternary entries"));
            }
        };
        self.globals.declare(name, Symbol::MatchKind(kind))
    }

    fn enumeration(
        &mut self,
        name: &Name,
        underlying: Option<&TypeExpression>,
        members: &[(Name, Option<Expression>)],
    ) -> Result<(), Problem> {
        let ty = underlying.map(|ty| self.resolve(ty, &[])).transpose()?;
        let width = match ty {
            Some(Type::Bits(width)) => Some(width),
            _ => None,
        };
        let mut known: Vec<(String, Value)> = Vec::new();
        for (member, value) in members {
            let value = match (&ty, value) {
                (Some(ty), Some(value)) => self.constant(value, Some(ty))?.0,
                (None, None) => Value::Member(known.len()),
                (Some(_), None) => {
                    return Err(Problem::new(
                        member.span,
                        "the member has no number",
                        "`= NUMBER`",
                    )
                    .help(format!("`{}` is an enum of numbers", name.text)));
                }
                (None, Some(value)) => {
                    return Err(Problem::new(value.span, "the enum has no numbers", "a number")
                        .help(format!("`enum bit<8> {} {{ ... }}` has", name.text)));
                }
            };
            if known.iter().any(|(other, _)| *other == member.text) {
                return Err(Problem::new(
                    member.span,
                    format!("`{}` is declared twice", member.text),
                    "the second time",
                ));
            }
            known.push((member.text.clone(), value));
        }
        let id = self.program.enums.len();
        self.program.enums.push(Enum { name: name.text.clone(), width, members: known });
        self.globals.declare(name, Symbol::Type(Type::Enum(id)))
    }

    fn structure(&mut self, name: &Name, fields: &[Field], is_header: bool) -> Result<(), Problem> {
        let mut known: Vec<(String, Type)> = Vec::new();
        let mut bits = Some(0);
        let mut variable = false;
        for field in fields {
            let ty = self.resolve(&field.ty, &[])?;
            if known.iter().any(|(other, _)| *other == field.name.text) {
                return Err(Problem::new(
                    field.name.span,
                    format!("the field `{}` is declared twice", field.name.text),
                    "the second time",
                ));
            }
            if is_header {
                bits = match self.field_width(&ty) {
                    Some(width) => bits.map(|bits| bits + width),
                    None if matches!(ty, Type::Varbit(_)) && !variable => {
                        variable = true;
                        None
                    }
                    None if variable => {
                        return Err(Problem::new(
                            field.name.span,
                            "a header has one `varbit` at most",
                            "the second",
                        ));
                    }
                    None => {
                        return Err(Problem::new(
                            field.ty.span,
                            "a header consists of numbers",
                            "bit<N>, bool, varbit<N> or an enum of numbers expected",
                        ));
                    }
                };
            }
            known.push((field.name.text.clone(), ty));
        }
        if let Some(bits) = bits.filter(|bits| bits % 8 != 0) {
            return Err(Problem::new(
                name.span,
                format!("the header is {bits} bits long"),
                "no whole number of bytes",
            ));
        }
        let id = self.program.structures.len();
        self.program.structures.push(Structure {
            name: name.text.clone(),
            is_header,
            fields: known,
        });
        self.globals.declare(name, Symbol::Type(Type::Structure(id)))
    }

    /// How many bits a field of a header takes; none for a `varbit` and what cannot be in a header.
    pub fn field_width(&self, ty: &Type) -> Option<u32> {
        match ty {
            Type::Boolean => Some(1),
            Type::Bits(width) => Some(*width),
            Type::Enum(id) => self.program.enums[*id].width,
            _ => None,
        }
    }

    fn function(&mut self, prototype: &Prototype, body: &Block) -> Result<(), Problem> {
        let signature = self.signature(prototype, &[])?;
        if let Some(generic) = prototype.type_parameters.first() {
            return Err(Problem::new(generic.span, "generic functions are not supported", "here"));
        }
        if let Some(bare) = prototype.parameters.iter().find(|p| p.direction == Direction::None) {
            return Err(Problem::new(
                bare.name.span,
                format!("the parameter `{}` has no direction", bare.name.text),
                "`in`, `out` or `inout` expected",
            ));
        }
        let returns = signature.returns.clone().unwrap_or(Type::Void);
        let mut checker =
            BodyChecker::function(self, &signature.parameters, returns.clone(), prototype)?;
        let statements = checker.block(body)?;
        if returns != Type::Void && !statements.iter().any(Statement::returns) {
            return Err(Problem::new(
                prototype.name.span,
                format!("`{}` does not return a value on all its ways", prototype.name.text),
                "where does it end?",
            ));
        }
        let slots = std::mem::take(&mut checker.definition.slots);
        let id = self.program.functions.len();
        self.program.functions.push(Function {
            name: signature.name,
            parameters: signature.parameters,
            returns,
            slots,
            body: statements,
        });
        self.globals.declare(&prototype.name, Symbol::Function(id))
    }

    fn global_instance(
        &mut self,
        ty: &TypeExpression,
        arguments: &[Expression],
        name: &Name,
    ) -> Result<(), Problem> {
        if let TypeKind::Named(package, _) = &ty.kind
            && let Some(Symbol::Package(blocks)) = self.globals.get(package).cloned()
        {
            return self.main(package, ty.span, &blocks, arguments, name);
        }
        if name.text == "main" {
            return Err(Problem::new(name.span, "`main` is a package", "not an object"));
        }
        let Type::Extern(id) = self.resolve(ty, &[])? else {
            return Err(Problem::new(
                ty.span,
                "only externs and the package `main` are made here",
                "here",
            ));
        };
        let arguments = self.constructor(id, arguments, ty.span)?;
        let place = self.program.instances.len();
        self.program
            .instances
            .push(Instance { name: name.text.clone(), of: InstanceOf::Extern(id, arguments) });
        self.globals.declare(name, Symbol::GlobalInstance(place))
    }

    /// The arguments of a constructor.
    pub fn constructor(
        &mut self,
        id: usize,
        arguments: &[Expression],
        span: crate::diagnostic::Span,
    ) -> Result<Vec<Value>, Problem> {
        let object = &self.program.externs[id];
        let constructors = object.methods.iter().filter(|method| method.returns.is_none());
        let counts: Vec<usize> = constructors.clone().map(|c| c.parameters.len()).collect();
        let found = constructors.clone().find(|c| c.parameters.len() == arguments.len()).cloned();
        let Some(constructor) = found else {
            return Err(Problem::new(
                span,
                format!("`{}` cannot be made of {} arguments", object.name, arguments.len()),
                format!("takes {counts:?}"),
            ));
        };
        let pairs = constructor.parameters.iter().zip(arguments);
        pairs.map(|(p, argument)| Ok(self.constant(argument, Some(&p.ty))?.0)).collect()
    }
}

/// The one number that an annotation has.
pub fn annotated_number(
    checker: &mut Checker,
    annotations: &[Annotation],
    name: &str,
) -> Result<Option<u32>, Problem> {
    known_annotations(annotations, &[name])?;
    let Some(annotation) = annotations.first() else { return Ok(None) };
    let wrong = || {
        Problem::new(
            annotation.name.span,
            format!("`@{name}` has one number"),
            format!("@{name}(0)"),
        )
    };
    let [number] = annotation.arguments.as_slice() else { return Err(wrong()) };
    match checker.constant(number, None)?.0 {
        Value::Integer(number) => Ok(Some(u32::try_from(number).map_err(|_| wrong())?)),
        _ => Err(wrong()),
    }
}
