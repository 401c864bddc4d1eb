# Functions of the Flux extension (ext/PyScoreFluxExt.jl, Julia ≥ 1.9, Flux ≥ 0.14). Without Flux they have no methods.

"""
    flux_model(model)

The model as Flux layers: (q, mu_head, kappa_head, g, pseudo_inputs), q and g `Chain`s of `Dense`.
"""
function flux_model end

"""
    load_flux!(model, flux)

Copy the parameters of the Flux layers into `model`: the inverse of `flux_model`.
"""
function load_flux! end

"""
    zygote_jacobian_decoder(flux, z), zygote_jacobian_encoder(flux, x)

Jacobians (d, k, n), (k, d, n) by Zygote, one sample at a time.
"""
function zygote_jacobian_decoder end
function zygote_jacobian_encoder end

"""
    flux_wloss(flux, x, draws, beta, c; convention)

`wloss` on the Flux layers, differentiable by Zygote.
"""
function flux_wloss end

"""
    flux_train_step!(flux, state, x, draws, beta, c; convention)

One `Flux.update!` on `flux_wloss` with injected draws; returns the loss before the step.
"""
function flux_train_step! end
