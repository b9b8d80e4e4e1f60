//! Statements.

use super::body::{BodyChecker, Context};
use super::call::Called;
use super::no_annotations;
use super::scope::{Scope, Symbol};
use crate::diagnostic::{Problem, Span};
use crate::program::{Expression, ExpressionKind, Statement, Type};
use crate::syntax::ast::{self, DeclarationKind as D, ExpressionKind as E, Name};

impl BodyChecker<'_> {
    /// Statements with names of their own.
    pub fn block(&mut self, block: &ast::Block) -> Result<Vec<Statement>, Problem> {
        self.statements(&block.statements)
    }

    /// Statements with names of their own.
    pub fn statements(&mut self, written: &[ast::Statement]) -> Result<Vec<Statement>, Problem> {
        self.scopes.push(Scope::default());
        let mut checked = Vec::new();
        let result = written.iter().try_for_each(|written| self.statement(written, &mut checked));
        self.scopes.pop();
        result.map(|()| checked)
    }

    /// One statement, appended to others in the same scope.
    pub fn statement(
        &mut self,
        written: &ast::Statement,
        checked: &mut Vec<Statement>,
    ) -> Result<(), Problem> {
        match written {
            ast::Statement::Empty => {}
            ast::Statement::Assign(target, value) => {
                let (place, ty) = self.target(target)?;
                let value = self.expression(value, Some(&ty))?;
                checked.push(Statement::Assign(place, value));
            }
            ast::Statement::Call(call) => checked.push(self.call_statement(call)?),
            ast::Statement::If(condition, yes, no) => {
                if self.context == Context::Parser {
                    return Err(Problem::new(condition.span, "a parser state has no `if`", "here")
                        .help("choose the next state by `select`"));
                }
                let condition = self.expression(condition, Some(&Type::Boolean))?;
                let yes = self.statements(std::slice::from_ref(yes))?;
                let no = match no {
                    Some(no) => self.statements(std::slice::from_ref(no))?,
                    None => Vec::new(),
                };
                checked.push(Statement::If(condition, yes, no));
            }
            ast::Statement::Switch(on, cases) => checked.push(self.switch(on, cases)?),
            ast::Statement::Block(block) => checked.extend(self.block(block)?),
            ast::Statement::Return(value, span) => {
                checked.push(self.return_value(value.as_ref(), *span)?);
            }
            ast::Statement::Exit(span) => {
                if !matches!(self.context, Context::Control | Context::Action) {
                    return Err(Problem::new(*span, "`exit` ends a control", "not in one"));
                }
                checked.push(Statement::Exit);
            }
            ast::Statement::Declaration(declaration) => {
                no_annotations(&declaration.annotations)?;
                match &declaration.kind {
                    D::Constant(ty, name, value) => self.local_constant(ty, name, value)?,
                    D::Variable(ty, name, value) => {
                        let statement = self.variable(ty, name, value.as_ref())?;
                        checked.push(statement);
                    }
                    D::Instance(_, _, name) => {
                        return Err(Problem::new(
                            name.span,
                            "objects are not made in statements",
                            "here",
                        )
                        .help("declare it beside the tables of the control"));
                    }
                    _ => unreachable!("the parser makes no other declarations among statements"),
                }
            }
        }
        Ok(())
    }

    fn call_statement(&mut self, call: &ast::Expression) -> Result<Statement, Problem> {
        match self.call(call)? {
            Called::Apply(table) => Ok(Statement::Apply(table)),
            Called::SetValid(place, valid) => Ok(Statement::SetValid(place, valid)),
            Called::Value(Expression { kind: ExpressionKind::Call(call), .. }) => {
                Ok(Statement::Call(*call))
            }
            Called::Value(_) => {
                Err(Problem::new(call.span, "the value of this call is not used", "does nothing"))
            }
        }
    }

    fn return_value(
        &mut self,
        value: Option<&ast::Expression>,
        span: Span,
    ) -> Result<Statement, Problem> {
        let wanted = match &self.context {
            Context::Function(ty) => ty.clone(),
            Context::Control | Context::Action => Type::Void,
            Context::Parser | Context::Constant => {
                return Err(Problem::new(
                    span,
                    "a parser state ends with a transition",
                    "no `return`",
                ));
            }
        };
        match (value, wanted) {
            (None, Type::Void) => Ok(Statement::Return(None)),
            (Some(value), Type::Void) => {
                Err(Problem::new(value.span, "nothing is returned here", "one too many"))
            }
            (None, _) => Err(Problem::new(span, "a value is to be returned", "here")),
            (Some(value), ty) => Ok(Statement::Return(Some(self.expression(value, Some(&ty))?))),
        }
    }

    /// `t.apply().hit`, `t.apply().miss`.
    pub fn table_result(
        &mut self,
        of: &ast::Expression,
        member: &Name,
        span: Span,
    ) -> Result<Option<Expression>, Problem> {
        let Some(table) = self.applied_table(of)? else { return Ok(None) };
        let hit = Expression { kind: ExpressionKind::TableHit(table), ty: Type::Boolean, span };
        match member.text.as_str() {
            "hit" => Ok(Some(hit)),
            "miss" => {
                let kind = ExpressionKind::Unary(ast::UnaryOperator::Not, Box::new(hit));
                Ok(Some(Expression { kind, ty: Type::Boolean, span }))
            }
            _ => Err(Problem::new(
                member.span,
                format!("an applied table has no `{}` here", member.text),
                "`hit` or `miss` expected; `action_run` in a `switch`",
            )),
        }
    }

    fn applied_table(&mut self, written: &ast::Expression) -> Result<Option<usize>, Problem> {
        if let E::Call(function, ..) = &written.kind
            && let E::Member(table, _) = &function.kind
            && let E::Name(name) = &table.kind
            && let Symbol::Table(_) = self.lookup(name, table.span)?
            && let Called::Apply(table) = self.call(written)?
        {
            return Ok(Some(table));
        }
        Ok(None)
    }

    fn switch(
        &mut self,
        on: &ast::Expression,
        cases: &[ast::SwitchCase],
    ) -> Result<Statement, Problem> {
        let table = match &on.kind {
            E::Member(of, member) if member.text == "action_run" => self.applied_table(of)?,
            _ => None,
        };
        let table = table.ok_or_else(|| {
            Problem::new(on.span, "a `switch` goes by the action of a table", "not supported")
                .help("`switch (t.apply().action_run) { ... }`")
        })?;
        let mut labels = Vec::new();
        let mut checked: Vec<(Vec<usize>, Vec<Statement>)> = Vec::new();
        let mut default = Vec::new();
        let mut open = Vec::new();
        for (n, case) in cases.iter().enumerate() {
            if let Some(label) = &case.label {
                let action = self.action_named(label)?;
                if !self.definition.tables[table].actions.iter().any(|a| a.action == action) {
                    return Err(Problem::new(
                        label.span,
                        format!("the table has no action `{}`", label.text),
                        "never chosen",
                    ));
                }
                if labels.contains(&action) {
                    return Err(Problem::new(
                        label.span,
                        "the action has a case already",
                        "the second",
                    ));
                }
                labels.push(action);
                open.push(action);
            } else if n + 1 != cases.len() {
                return Err(Problem::new(case.span, "`default` is not the last case", "here"));
            }
            let Some(body) = &case.body else { continue };
            let body = self.block(body)?;
            if case.label.is_none() {
                default = body;
            } else {
                checked.push((std::mem::take(&mut open), body));
            }
        }
        if !open.is_empty() {
            let span = cases.last().map_or(on.span, |case| case.span);
            return Err(Problem::new(span, "the last case does nothing", "`{ ... }` expected"));
        }
        Ok(Statement::Switch { table, cases: checked, default })
    }
}
