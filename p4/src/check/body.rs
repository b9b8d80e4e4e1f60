//! The inside of a parser, a control or a function: its frame and its names.

use std::collections::HashMap;

use super::Checker;
use super::scope::{Scope, Symbol};
use crate::diagnostic::{Problem, Span};
use crate::program::{
    BlockDefinition, Body, Expression, ExpressionKind, Parameter, Place, Statement, Type,
};
use crate::syntax::ast::{self, Direction, Name};
use crate::value::Value;

/// What kind of code is being checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Context {
    /// A parser's states.
    Parser,
    /// A control's `apply`.
    Control,
    /// An action of a control.
    Action,
    /// A function that returns this.
    Function(Type),
    /// A constant, outside of any code.
    Constant,
}

/// Checks the inside of one block or function.
pub struct BodyChecker<'a> {
    pub checker: &'a mut Checker,
    /// The block, as far as it is known.
    pub definition: BlockDefinition,
    pub context: Context,
    pub scopes: Vec<Scope>,
    /// Actions of the top of the program that this block uses.
    pub global_actions: HashMap<String, usize>,
}

impl<'a> BodyChecker<'a> {
    fn new(checker: &'a mut Checker, name: &str, context: Context) -> Self {
        let definition = BlockDefinition {
            name: name.to_owned(),
            parameters: Vec::new(),
            slots: Vec::new(),
            prologue: Vec::new(),
            instances: Vec::new(),
            actions: Vec::new(),
            tables: Vec::new(),
            body: Body::Control(Vec::new()),
        };
        let scopes = vec![Scope::default()];
        Self { checker, definition, context, scopes, global_actions: HashMap::new() }
    }

    /// For expressions outside of blocks.
    pub fn bare(checker: &'a mut Checker) -> Self {
        Self::new(checker, "", Context::Constant)
    }

    /// For a function.
    pub fn function(
        checker: &'a mut Checker,
        parameters: &[Parameter],
        returns: Type,
        prototype: &ast::Prototype,
    ) -> Result<Self, Problem> {
        let mut body = Self::new(checker, &prototype.name.text, Context::Function(returns));
        body.declare_parameters(parameters, &prototype.parameters)?;
        Ok(body)
    }

    /// For a parser or control.
    pub fn block_definition(
        checker: &'a mut Checker,
        name: &Name,
        parameters: &[ast::Parameter],
        context: Context,
    ) -> Result<Self, Problem> {
        let types = checker.parameters(parameters, &[])?;
        let mut body = Self::new(checker, &name.text, context);
        body.declare_parameters(&types, parameters)?;
        body.definition.parameters = types;
        Ok(body)
    }

    fn declare_parameters(
        &mut self,
        types: &[Parameter],
        written: &[ast::Parameter],
    ) -> Result<(), Problem> {
        for (parameter, written) in types.iter().zip(written) {
            // Every call brings the values of parameters.
            self.definition.slots.push(Value::Nothing);
            let slot = self.definition.slots.len() - 1;
            let symbol = match parameter.ty {
                Type::Extern(id) => Symbol::Object(id),
                _ if parameter.direction == Direction::None => {
                    return Err(Problem::new(
                        written.name.span,
                        format!("the parameter `{}` has no direction", parameter.name),
                        "`in`, `out` or `inout` expected",
                    ));
                }
                _ => Symbol::Variable {
                    slot,
                    ty: parameter.ty.clone(),
                    writable: parameter.direction != Direction::In,
                },
            };
            self.declare_parameter(&written.name, symbol)?;
        }
        Ok(())
    }

    /// A new slot of the frame.
    pub fn slot(&mut self, ty: &Type) -> usize {
        self.definition.slots.push(self.checker.program.zero(ty));
        self.definition.slots.len() - 1
    }

    /// Gives a name a meaning in the innermost scope. No parameter may be hidden.
    pub fn declare(&mut self, name: &Name, symbol: Symbol) -> Result<(), Problem> {
        let (innermost, outer) = self.scopes.split_last_mut().expect("a body has a scope");
        if outer.iter().any(|scope| scope.has_parameter(&name.text)) {
            return Err(Problem::new(
                name.span,
                format!("`{}` hides a parameter", name.text),
                "another name is needed",
            ));
        }
        innermost.declare(name, symbol)
    }

    /// Makes a name a parameter in the innermost scope. Where a parameter has the name of a type, the reference compiler
    /// reads the type.
    pub fn declare_parameter(&mut self, name: &Name, symbol: Symbol) -> Result<(), Problem> {
        if self.checker.globals.get(&name.text).is_some_and(Symbol::is_type) {
            return Err(Problem::new(
                name.span,
                format!("`{}` is a type", name.text),
                "another name is needed",
            ));
        }
        self.scopes.last_mut().expect("a body has a scope").declare_parameter(name, symbol)
    }

    /// What a name means.
    pub fn lookup(&self, name: &str, span: Span) -> Result<Symbol, Problem> {
        let local = self.scopes.iter().rev().find_map(|scope| scope.get(name));
        if let Some(symbol) = local.or_else(|| self.checker.globals.get(name)) {
            return Ok(symbol.clone());
        }
        let problem = Problem::new(span, format!("there is no `{name}` here"), "not declared");
        let similar = self.scopes.iter().rev().find_map(|scope| scope.similar(name));
        Err(match similar.or_else(|| self.checker.globals.similar(name)) {
            Some(similar) => problem.help(format!("did you mean `{similar}`?")),
            None => problem,
        })
    }

    /// A variable, and the statement that gives it its first value.
    pub fn variable(
        &mut self,
        ty: &ast::TypeExpression,
        name: &Name,
        value: Option<&ast::Expression>,
    ) -> Result<Statement, Problem> {
        let resolved = self.checker.resolve(ty, &[])?;
        if matches!(resolved, Type::Integer | Type::Text | Type::Void | Type::Extern(_)) {
            return Err(Problem::new(
                ty.span,
                format!("no variable can be {}", self.checker.program.show_type(&resolved)),
                "this type",
            ));
        }
        let first = match value {
            Some(value) => self.expression(value, Some(&resolved))?,
            None => Expression {
                kind: ExpressionKind::Constant(self.checker.program.zero(&resolved)),
                ty: resolved.clone(),
                span: name.span,
            },
        };
        let slot = self.slot(&resolved);
        self.declare(name, Symbol::Variable { slot, ty: resolved, writable: true })?;
        let place = Place { slot, path: Vec::new(), slice: None, text: name.text.clone() };
        Ok(Statement::Assign(place, first))
    }

    /// A constant of a block.
    pub fn local_constant(
        &mut self,
        ty: &ast::TypeExpression,
        name: &Name,
        value: &ast::Expression,
    ) -> Result<(), Problem> {
        let ty = self.checker.resolve(ty, &[])?;
        let (value, ty) = self.checker.constant(value, Some(&ty))?;
        self.declare(name, Symbol::Constant(value, ty))
    }

    /// One of the block's actions by its name; actions of the top of the program become the block's own.
    pub fn action_named(&mut self, name: &Name) -> Result<usize, Problem> {
        match self.lookup(&name.text, name.span)? {
            Symbol::Action(action) => Ok(action),
            Symbol::GlobalAction(action) => {
                if let Some(known) = self.global_actions.get(&name.text) {
                    return Ok(*known);
                }
                let inner: Vec<Scope> = self.scopes.drain(..).collect();
                self.scopes.push(Scope::default());
                let lowered = self.action(&action);
                self.scopes = inner;
                let id = lowered?;
                self.global_actions.insert(name.text.clone(), id);
                Ok(id)
            }
            other => Err(super::mismatch(name.span, "an action", other.what())),
        }
    }
}

impl Checker {
    /// A constant's value and type.
    pub fn constant(
        &mut self,
        expression: &ast::Expression,
        expected: Option<&Type>,
    ) -> Result<(Value, Type), Problem> {
        let checked = BodyChecker::bare(self).expression(expression, expected)?;
        match checked.kind {
            ExpressionKind::Constant(value) => Ok((value, checked.ty)),
            _ => Err(Problem::new(
                expression.span,
                "a constant is expected",
                "known only when the program runs",
            )),
        }
    }
}
