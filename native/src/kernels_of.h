// `kernels_of`: all kernels of one instruction set, as the table that the network calls through.
#pragma once

#include "attention.h"
#include "convolutions.h"
#include "residual.h"
#include "stem.h"

namespace mv2 {

template <class X>
Kernels kernels_of(const char* name) {
    return {
        name,
        X::channel_multiple,
        static_cast<int>(sizeof(typename X::Element)),
        X::form == Form::quantized ? 1 : static_cast<int>(sizeof(typename X::Element)),
        X::form == Form::tiles ? 32 : 16,
        place<X>,
        stem_scratch<X>,
        residual_scratch<X>,
        attention_scratch<X>,
        stem<X>,
        residual<X>,
        local<X>,
        sum_part<X>,
        context<X>,
        attend<X>,
        feed_forward<X>,
        project<X>,
        conv<X>,
        filter<X>,
        dense<X>,
        [] { X::enter(); },  // not their addresses: instruction sets may not share functions
        [] { X::leave(); },
        spin<X>,
    };
}

}  // namespace mv2
